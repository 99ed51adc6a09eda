"""The time of R-CNN, SPPnet and Fast R-CNN on the same images, proposals and backbone."""
