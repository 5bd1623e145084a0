"""ROS bags: jobs that record topics of deployments, and the bags that come of them."""
