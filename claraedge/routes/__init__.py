"""Static routes: stable paths of the HTTP front that lead to endpoints of deployments."""
