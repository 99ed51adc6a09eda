"""Print the paths of the photographs of `make demo`, which installed libraries ship."""

from pathlib import Path

import matplotlib
import skimage

photographs = [
    Path(skimage.__file__).parent / "data" / "chelsea.png",  # a cat
    Path(skimage.__file__).parent / "data" / "astronaut.png",
    Path(matplotlib.get_data_path()) / "sample_data" / "grace_hopper.jpg",
]
print(*photographs)
