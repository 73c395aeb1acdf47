"""Published figures: mean and standard deviation in percent, as the paper prints them but for one misprint."""

OVER_FOLDS = ("fcn", "unet", "segnet")  # the rows of Table I whose spread is over five folds, at 256x256
OVER_IMAGES = ("atlas", "hybrid voting", "ASM", "human observer")  # of SCAN's the paper does not tell

# Table I: Jaccard (mean, sd) and Dice (mean, sd) on JSRT; None where nothing was printed.
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
    "HDAP": {"clavicles": ((86.00, None), None)},  # in the paper's text
    "human observer": {
        "lungs": ((94.60, 1.80), None),
        "heart": ((87.80, 5.40), None),
        "clavicles": ((89.60, 3.70), None),
    },
}

# Table II: Jaccard (mean, sd over test images) on Montgomery's lungs by the share of its labels; at 0 % fine-tuning is
# the segmenter as it is, and there is nothing to train from scratch.
TABLE2 = {
    0.0: {"transfer": (88.20, 9.80), "fine_tuning": (4.30, 4.13)},
    0.0125: {"transfer": (88.83, 9.81), "fine_tuning": (78.94, 13.32), "from_scratch": (54.23, 13.37)},
    0.025: {"transfer": (88.25, 10.19), "fine_tuning": (83.32, 12.32), "from_scratch": (56.01, 13.76)},
    0.05: {"transfer": (90.79, 7.05), "fine_tuning": (83.46, 8.60), "from_scratch": (55.10, 14.42)},
    0.1: {"transfer": (89.18, 9.18), "fine_tuning": (83.66, 9.69), "from_scratch": (87.80, 6.78)},
    0.2: {"transfer": (91.26, 7.20), "fine_tuning": (88.71, 8.73), "from_scratch": (89.50, 7.65)},
    0.5: {"transfer": (92.15, 5.90), "fine_tuning": (93.78, 5.42), "from_scratch": (89.82, 4.34)},
    1.0: {"transfer": (93.18, 5.47), "fine_tuning": (94.81, 5.15), "from_scratch": (94.16, 4.57)},
}
