return { where = "beside the script" }
