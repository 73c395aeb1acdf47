"""Montgomery: 138 chest radiographs with masks of the lungs."""
