"""The selector: folds the log into a view of the fleet and sends each visitor to the best mirror."""
