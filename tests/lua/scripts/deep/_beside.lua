return { where = ... }
