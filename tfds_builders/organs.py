"""The organs that are segmented, and the structures whose masks make up each."""

ORGANS = {
    "lungs": ("left_lung", "right_lung"),
    "heart": ("heart",),
    "clavicles": ("left_clavicle", "right_clavicle"),
}
