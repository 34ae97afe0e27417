"""What turns the command line into one nested dict."""
