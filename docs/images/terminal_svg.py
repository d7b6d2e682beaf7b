#!/usr/bin/env python3
"""Draws what a command printed as a picture of a terminal:  mayfly run ... | terminal_svg.py TITLE > picture.svg"""
import sys
from xml.sax.saxutils import escape

LINE = 17
COLUMN = 7.8
COLOURS = (("PASSED", "#7ee787"), ("FAILED", "#ff7b72"), ("ERROR", "#ff7b72"), ("teardown complete", "#7ee787"))


def colour_of(line):
    return next((colour for word, colour in COLOURS if line.startswith(word)), "#c9d1d9")


def main():
    title = sys.argv[1]
    lines = sys.stdin.read().rstrip("\n").split("\n")
    width = int(max([len(title) + 8] + [len(line) for line in lines]) * COLUMN) + 40
    height = (len(lines) + 1) * LINE + 50
    print(f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" viewBox="0 0 {width} {height}">')
    print(f'<rect width="{width}" height="{height}" rx="8" fill="#0d1117"/>')
    for x, fill in ((18, "#ff5f56"), (36, "#ffbd2e"), (54, "#27c93f")):
        print(f'<circle cx="{x}" cy="16" r="5" fill="{fill}"/>')
    print('<g font-family="DejaVu Sans Mono, Menlo, Consolas, monospace" font-size="13" xml:space="preserve">')
    print(f'<text x="18" y="52" fill="#79c0ff">$ {escape(title)}</text>')
    for number, line in enumerate(lines):
        y = 52 + (number + 1) * LINE
        print(f'<text x="18" y="{y}" fill="{colour_of(line)}">{escape(line)}</text>')
    print("</g></svg>")


if __name__ == "__main__":
    main()
