"""What all Python suites share: starting and stopping the server under test."""
