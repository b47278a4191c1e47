"""The paper in code: configurations, data, networks, training, paths, curves, plateaus, theory, estimates."""
