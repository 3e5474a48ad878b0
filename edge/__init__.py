"""What runs on the box: cameras, preprocessing, classifier, delivery, daemon and commands."""
