"""Searches and trainings in MLflow, for people to look at. Importing the package loads no MLflow."""
