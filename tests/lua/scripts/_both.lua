return "from beside"
