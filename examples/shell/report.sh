# Shows what a run gets to see, and how it gives a result back.
set -eu
echo "$GREETING. I am run $WEIR_RUN_ID, attempt $WEIR_ATTEMPT, of $WEIR_DEPLOYMENT on $WEIR_POOL/$WEIR_QUEUE."
echo "My parameters: $WEIR_PARAMETERS"
echo "Lines on stderr are in the log too." >&2
printf '{"words": %d}\n' "$(wc -w <poem.txt)" >"$WEIR_RESULT_FILE"
