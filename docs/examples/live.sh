#!/bin/sh
# Your microphone through the flow to your speakers, as you speak: sh live.sh [OPTION OF stream-resynth ...]
#
# Use headphones: speakers would be heard by the microphone. For OBS or a call, play into a virtual device, and choose its
# monitor as the microphone there:
#   pactl load-module module-null-sink sink_name=flow
#   PULSE_SINK=flow sh live.sh
set -eu
format="-q -t raw -f S16_LE -c 1 -r 22050"
arecord $format --buffer-time 50000 | flowvocoder stream-resynth --latency 70 "$@" | aplay $format --buffer-time 50000
