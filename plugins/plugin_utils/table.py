# Copyright: (c) 2026, selfhosted.llm contributors
# SPDX-License-Identifier: GPL-3.0-or-later

"""Tables on the screen."""

from __future__ import annotations


def table(rows: list[dict[str, str]]) -> list[str]:
    """Lines of a table with aligned columns, named by the keys of the first row; none without rows."""
    cells = [tuple(row) for row in rows[:1]] + [tuple(row.values()) for row in rows]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    return ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in cells]
