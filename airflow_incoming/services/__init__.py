"""The verbs: receive, take in, dispatch, launch, manage."""
