hs = {status = "Progressing", message = "waiting for the till"}
if obj.status ~= nil and obj.status.till ~= nil then
  if obj.status.till == "open" and obj.status.observedGeneration == obj.metadata.generation then
    hs.status = "Healthy"
    hs.message = obj.metadata.name .. " is served"
  end
  if obj.status.till == "broken" then
    hs.status = "Degraded"
    hs.message = obj.status.reason
  end
end
return hs
