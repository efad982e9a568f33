-- What a script may use: Argo CD's dialect, which is Lua 5.1 with goto, on Lua 5.4.
-- Gives a function that makes a new environment for each evaluation, so that no script can leave anything behind for
-- the next one: every table in it is a copy.
local native, open_libraries = ...

local raw_pcall, raw_xpcall, raw_setmetatable, raw_tostring = pcall, xpcall, setmetatable, tostring
local math_type, to_integer, rawget, type, error, next, select = math.type, math.tointeger, rawget, type, error, next, select
local pack, unpack = table.pack, table.unpack
local check = native.check

-- Argo CD's interpreter has one type of number and prints whole ones without a fraction.
local function whole(value)
  if math_type(value) == "float" then
    return to_integer(value) or value
  end
  return value
end

-- A script that has used up its budget must not go on by catching the error that says so.
local function checked(...)
  check()
  return ...
end

local base = {
  assert = assert, error = error, getmetatable = getmetatable, ipairs = ipairs, next = next, pairs = pairs,
  rawequal = rawequal, rawget = rawget, rawset = rawset, select = select, tonumber = tonumber, type = type,
  unpack = unpack, _VERSION = _VERSION,
  -- There is nowhere to print to; scripts that were debugged so still run.
  print = function() end,
  tostring = function(value) return raw_tostring(whole(value)) end,
  pcall = function(...) return checked(raw_pcall(...)) end,
  xpcall = function(...) return checked(raw_xpcall(...)) end,
  setmetatable = function(object, metatable)
    if type(metatable) == "table" and rawget(metatable, "__gc") ~= nil then
      error("__gc is not available", 2)
    end
    return raw_setmetatable(object, metatable)
  end,
}

local libraries = {
  table = {
    concat = table.concat, insert = table.insert, remove = table.remove, sort = table.sort, unpack = unpack, pack = pack,
    getn = function(list) return #list end,
    maxn = function(list)
      local largest = 0
      for key in next, list do
        if type(key) == "number" and key > largest then largest = key end
      end
      return largest
    end,
  },
  os = { time = native.time, date = native.date },
}

local strings = getmetatable("")
if open_libraries then
  local copy = {}
  for name, value in next, string do copy[name] = value end
  copy.dump = nil
  local format = string.format
  copy.format = function(pattern, ...)
    local arguments = pack(...)
    for index = 1, arguments.n do
      if math_type(arguments[index]) then arguments[index] = whole(arguments[index]) end
    end
    return format(pattern, unpack(arguments, 1, arguments.n))
  end
  libraries.string = copy
  local numbers = {}
  for name, value in next, math do numbers[name] = value end
  numbers.pow = function(base_number, exponent) return base_number ^ exponent end
  numbers.mod = math.fmod
  libraries.math = numbers
  -- Methods of strings look into a table that no script can reach.
  local methods = {}
  for name, value in next, copy do methods[name] = value end
  strings.__index = methods
else
  -- Without the library a string has no methods; arithmetic with numerals in strings works all the same.
  strings.__index = nil
end
strings.__metatable = false

local function copied(source)
  local copy = {}
  for name, value in next, source do copy[name] = value end
  return copy
end

return function()
  local environment = copied(base)
  for name, library in next, libraries do environment[name] = copied(library) end
  environment._G = environment
  environment.require = function(name)
    local library = libraries[name]
    if library == nil then
      error("module '" .. raw_tostring(name) .. "' is not available", 2)
    end
    return copied(library)
  end
  return environment
end
