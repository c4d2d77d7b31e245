--- A word filter. It hides whole words, so "heck" goes and "checker" stays, in capitals or not.
--- A word is a run of letters and digits. Everything beyond ASCII counts as a letter, and only
--- ASCII letters have capitals here: list "äh" and "Äh" if you want to hide both.
local words = {}

---@param list string[] the words to hide
---@return fun(text: string): string filter gives the text back with stars for those words
function words.filter(list)
  local hidden = {}
  for _, word in ipairs(list) do
    hidden[word:lower()] = ("*"):rep(utf8.len(word) or #word)
  end
  return function(text)
    return (text:gsub("[%w\x80-\xff]+", function(word)
      return hidden[word:lower()]
    end))
  end
end

return words
