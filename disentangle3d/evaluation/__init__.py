"""Measures of reconstruction, verification and disentanglement.

`reconstruction.shape_error` (named protocols, mm), `verification.verify`
(accuracy, 100%-EER, AUC, TAR at a FAR, percent over folds), `pairs.make_pairs`
(person-disjoint folds), `roc` (curves with ties), `bootstrap` (intervals for
the numbers in tables).
"""
