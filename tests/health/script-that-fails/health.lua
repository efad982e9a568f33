if obj.metadata.name == "endless" then
  while true do end
elseif obj.metadata.name == "nosy" then
  return {status = io.open("/etc/passwd"):read("*a")}
elseif obj.metadata.name == "wrong" then
  return {status = "Fine"}
elseif obj.metadata.name == "missing" then
  return {status = obj.status.phase}
end
return {status = "Healthy"}
