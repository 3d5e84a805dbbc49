"""Areas of a polygon in the cells of a grid, by clipping it edge after edge (Sutherland and Hodgman, 1974)."""

import numpy as np


def hexagon(radius, centre=(0.0, 0.0)):
    """Vertices, one of them on top, counter-clockwise."""
    angle = np.pi * (np.arange(6) / 3.0 + 0.5)
    return [(centre[0] + radius * np.cos(a), centre[1] + radius * np.sin(a)) for a in angle]


def clipped(polygon, axis, limit, keep_below):
    """The part of a convex polygon on one side of an upright or level line."""
    inside = lambda p: (p[axis] <= limit) == keep_below or p[axis] == limit  # noqa: E731
    result = []
    for start, end in zip(polygon, polygon[1:] + polygon[:1], strict=True):
        if inside(start):
            result.append(start)
        if inside(start) != inside(end):
            share = (limit - start[axis]) / (end[axis] - start[axis])
            crossing = [start[k] + share * (end[k] - start[k]) for k in (0, 1)]
            crossing[axis] = limit
            result.append(tuple(crossing))
    return result


def area(polygon):
    """By the shoelace formula."""
    if len(polygon) < 3:
        return 0.0
    x, y = np.transpose(polygon)
    return 0.5 * abs(np.dot(x, np.roll(y, -1)) - np.dot(y, np.roll(x, -1)))


def in_cell(polygon, west, east, south, north):
    """The part of a convex polygon in a rectangle."""
    for axis, limit, below in ((0, east, True), (0, west, False), (1, north, True), (1, south, False)):
        polygon = clipped(polygon, axis, limit, below) if polygon else polygon
    return polygon


def chord(polygon, axis, place, low, high):
    """Length of the line {axis = place} inside a convex polygon, between low and high along the other axis."""
    crossings = []
    for start, end in zip(polygon, polygon[1:] + polygon[:1], strict=True):
        if (start[axis] - place) * (end[axis] - place) < 0.0:
            share = (place - start[axis]) / (end[axis] - start[axis])
            crossings.append(start[1 - axis] + share * (end[1 - axis] - start[1 - axis]))
        elif start[axis] == place:
            crossings.append(start[1 - axis])
    if len(crossings) < 2:
        return 0.0
    return max(0.0, min(max(crossings), high) - max(min(crossings), low))
