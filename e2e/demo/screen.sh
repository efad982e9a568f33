# What the demo shows. Colours only on a terminal.
# shellcheck shell=bash disable=SC2034

if [ -t 1 ] && [ -z "${NO_COLOR:-}" ] && [ "${TERM:-dumb}" != dumb ]; then
  BOLD=$'\e[1m' DIM=$'\e[2m' RED=$'\e[31m' GREEN=$'\e[32m' YELLOW=$'\e[33m' BLUE=$'\e[34m' PLAIN=$'\e[0m'
else
  BOLD='' DIM='' RED='' GREEN='' YELLOW='' BLUE='' PLAIN=''
fi

WIDTH=$(stty size 2>/dev/null </dev/tty | cut -d' ' -f2 || :)
[ "${WIDTH:-0}" -gt 0 ] || WIDTH=120

# Seconds since the demo began, with one decimal.
clock_now() { echo "${EPOCHREALTIME/[.,]/}"; }
DEMO_BEGAN=$(clock_now)
milliseconds_since() { echo $((($(clock_now) - $1) / 1000)); }
elapsed() {
  local tenths=$((($(clock_now) - DEMO_BEGAN) / 100000))
  printf '%4d.%d s' $((tenths / 10)) $((tenths % 10))
}

step() { printf '\n%s%s%s%s\n' "$BOLD" "$BLUE" "$*" "$PLAIN"; }
line() { printf '%s%s%s  %s\n' "$DIM" "$(elapsed)" "$PLAIN" "$*"; }
good() { line "${GREEN}✓${PLAIN} $*"; }
bad() { line "${RED}✗ $*${PLAIN}"; }
detail() { sed "s/^/            ${DIM}/; s/\$/${PLAIN}/"; }

# Milliseconds for people.
spell() {
  if [ "$1" -lt 1000 ]; then echo "$1 ms"; else printf '%d.%d s\n' $(($1 / 1000)) $(($1 % 1000 / 100)); fi
}

colour_of() {
  case "$1" in
    Synced | Healthy) echo "$GREEN" ;;
    OutOfSync | Progressing | Suspended) echo "$YELLOW" ;;
    Degraded | Missing | Failed) echo "$RED" ;;
    *) echo "$DIM" ;;
  esac
}

# application_line NAME SYNC HEALTH REVISION SENTENCE
application_line() {
  local room=$((WIDTH - 52)) sentence=$5
  [ "$room" -ge 30 ] || room=30
  [ "${#sentence}" -le "$room" ] || sentence=${sentence:0:room-1}…
  printf '%s%s%s  %-10s%s%-10s%s%s%-12s%s%s%-8s %s%s\n' "$DIM" "$(elapsed)" "$PLAIN" "$1" \
    "$(colour_of "$2")" "$2" "$PLAIN" "$(colour_of "$3")" "$3" "$PLAIN" "$DIM" "$4" "$sentence" "$PLAIN"
}
