"""The book's logo and favicon, drawn from what the book is about: a curve that waits, and falls.

`python -m mli_utils.logo` draws them into `book/_static`, where they are committed; a test says so if they differ.
"""

from mli_utils import settings
from mli_utils.style import PALETTE

SIDE = 64


def drawing(margin: int = 6, width: float = 5) -> str:
    """An SVG of 64 × 64: the error of a network whose bias outweighs its signal, dashed that of one without a bias."""

    def course(plateau: float, power: float) -> str:
        points = []
        for step in range(33):
            alpha = step / 32
            left = max(0.0, (alpha - plateau) / (1 - plateau))
            error = 0 if left >= 1 else 1 / (1 + (left / (1 - left)) ** power * 2)
            x, y = margin + alpha * (SIDE - 2 * margin), margin + (1 - error) * (SIDE - 2 * margin)
            points.append(f"{x:.1f} {y:.1f}")
        return "M" + " L".join(points)

    line = f'fill="none" stroke-width="{width}" stroke-linecap="round" stroke-linejoin="round"'
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {SIDE} {SIDE}" role="img" '
        'aria-label="A curve with a plateau above one without">\n'
        f'<rect width="{SIDE}" height="{SIDE}" rx="12" fill="#fff"/>\n'
        f'<path d="{course(0, 1.6)}" {line} stroke="{PALETTE[1]}" stroke-dasharray="1 8"/>\n'
        f'<path d="{course(0.45, 1.4)}" {line} stroke="{PALETTE[0]}"/>\n'
        "</svg>\n"
    )


def main() -> None:
    for name in ("logo.svg", "favicon.svg"):
        drawn = drawing(width=7 if name == "favicon.svg" else 5)
        (settings.root() / "book" / "_static" / name).write_text(drawn, encoding="utf-8")


if __name__ == "__main__":
    main()
