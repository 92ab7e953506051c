"""Several tasks in one step: the forward pass, the gradient of each task, and how tasks share an update."""
