if not rawget(_G, "failing_works") then
  error "not yet"
end
return "works now"
