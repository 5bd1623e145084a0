"""Files over HTTP: GET with ranges, PUT, folders as zip, and uploads that are continued."""
