"""The figures that the paper prints, to stand beside what is measured here."""

# Table 1: RMSE in mm on BU-3DFE by |yaw|, 90 to 0 degrees, and their mean.
YAW_DEG = (90, 80, 70, 60, 50, 40, 30, 20, 10, 0)
TABLE_1: dict[str, tuple[float | None, ...]] = {
  "VRN": (6.96, 6.20, 6.14, 6.01, 5.91, 5.50, 4.93, 3.86, 3.70, 3.66, 5.29),
  "3DDFA": (2.90, 2.88, 2.81, 2.82, 2.77, 2.79, 2.76, 2.73, 2.55, 2.48, 2.75),
  "3DMM-CNN": (
    None,
    None,
    None,
    None,
    2.30,
    2.26,
    2.23,
    2.22,
    2.19,
    2.17,
    2.23,
  ),
  "3DSR": (2.11, 2.11, 2.12, 2.13, 2.16, 2.14, 2.12, 2.10, 2.10, 2.09, 2.12),
  "Proposed": (
    2.09,
    2.04,
    2.03,
    2.03,
    2.00,
    1.99,
    2.03,
    2.01,
    1.97,
    1.93,
    2.01,
  ),
}

# Table 2: RMSE in mm on MICC's outdoor videos.
TABLE_2 = {
  "VRN": 5.34,
  "3DDFA": 2.73,
  "3DMM-CNN": 2.20,
  "3DSR": 2.07,
  "Proposed": 2.00,
}

# Fig. 6 and 7, means over the expressions of BU-3DFE, mm.
EXPRESSIONS = {"full shape": 2.19, "identity shape": 2.00}

# Table 3, shape only: accuracy, 100%-EER, AUC, TAR at FAR 10 % and 1 %, each
# with its standard deviation, percent.
TABLE_3 = {
  "Proposed, LFW": (
    (94.43, 1.47),
    (94.40, 1.52),
    (98.12, 0.90),
    (95.07, 2.39),
    (74.54, 4.33),
  ),
  "3DMM-CNN, LFW": (
    (90.53, 1.34),
    (90.63, 1.61),
    (96.60, 0.79),
    (91.13, 2.62),
    (58.20, 12.14),
  ),
  "Proposed, YTF": (
    (88.74, 1.03),
    (88.70, 1.15),
    (96.28, 0.63),
    (89.00, 2.40),
    (53.44, 4.51),
  ),
}

# Table 4: milliseconds an image on a GTX 1080, 700 images.
TABLE_4 = {
  "VRN": 55.68,
  "3DDFA": 39.17,
  "3DMM-CNN": 30.12,
  "3DSR": 29.80,
  "Proposed": 4.79,
}
