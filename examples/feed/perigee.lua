return {
  scripts = {
    feed = { demo = 40 }, -- 40 devices that are none, 2,000 readings a second; 0 for none
  },
}
