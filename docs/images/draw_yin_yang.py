"""The README's picture, from a finished run of `eventsnn train yin_yang`.

    python docs/images/draw_yin_yang.py RUN          # writes docs/images/yin_yang.png

It is two of the pictures in RUN/plots, side by side.
"""

import sys
from pathlib import Path

import numpy as np
from matplotlib.image import imread, imsave

HEIGHT = 640


def main() -> None:
    """Scale both pictures to the same height, put them side by side on white."""
    plots = Path(sys.argv[1]) / "plots"
    parts = [_scaled(imread(plots / name)[..., :3]) for name in ("yin_yang_map.png", "curve.png")]
    gap = np.ones((HEIGHT, HEIGHT // 20, 3), np.float32)
    imsave(Path(__file__).with_name("yin_yang.png"), np.concatenate((parts[0], gap, parts[1]), axis=1))


def _scaled(image: np.ndarray) -> np.ndarray:
    from PIL import Image  # matplotlib needs pillow anyway

    width = round(image.shape[1] * HEIGHT / image.shape[0])
    picture = Image.fromarray((255 * image).round().astype(np.uint8)).resize((width, HEIGHT), Image.Resampling.LANCZOS)
    return np.asarray(picture, dtype=np.float32) / 255


if __name__ == "__main__":
    main()
