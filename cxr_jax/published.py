"""Published figures: mean and standard deviation in percent, as the paper prints them (its Tables I and II)."""

OVER_FOLDS = ("fcn", "unet", "segnet")  # the rows of Table I whose spread is over five folds, at 256x256

# Table I: Jaccard (mean, sd) and Dice (mean, sd) on JSRT; None where nothing was printed. The spread of the
# rows not named above is over images.
TABLE1 = {
    "fcn": {
        "lungs": ((95.05, 0.20), (97.45, 0.11)),
        "heart": ((89.25, 0.56), (94.24, 0.35)),
        "clavicles": ((75.52, 1.03), (85.90, 0.68)),
    },
    "unet": {
        "lungs": ((96.02, 0.33), (97.96, 0.17)),
        "heart": ((89.21, 1.32), (94.16, 0.88)),
        "clavicles": ((86.54, 0.99), (92.58, 0.80)),
    },
    "segnet": {
        "lungs": ((95.54, 0.32), (97.71, 0.17)),
        "heart": ((89.64, 0.91), (94.44, 0.55)),
        "clavicles": ((87.30, 0.67), (93.08, 0.49)),
    },
    "invertednet": {
        "lungs": ((95.10, None), (97.50, None)),
        "heart": ((87.10, None), (93.10, None)),
        "clavicles": ((87.00, None), (93.00, None)),
    },
    "scan": {
        "lungs": ((94.70, 0.40), (97.30, 0.20)),
        "heart": ((86.60, 1.20), (92.70, 0.20)),
    },
    "atlas": {"lungs": ((95.40, 1.50), (96.70, 0.80))},
    "hybrid voting": {
        "lungs": ((94.90, 2.00), None),
        "heart": ((86.00, 5.60), None),  # printed as 0.56; 5.6 in the source the paper cites
        "clavicles": ((73.60, 10.60), None),
    },
    "ASM": {"clavicles": ((73.40, 13.70), None)},
    "HDAP": {"clavicles": ((86.00, None), None)},
    "human observer": {
        "lungs": ((94.60, 1.80), None),
        "heart": ((87.80, 5.40), None),
        "clavicles": ((89.60, 3.70), None),
    },
}
