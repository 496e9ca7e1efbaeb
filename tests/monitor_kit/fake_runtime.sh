# A runtime in ten lines for the monitor's mechanics: sh fake_runtime.sh DIR COMMAND...; `touch DIR/go` is its start.
dir=$1
shift
exec 3<&0
(
    while [ ! -e "$dir/go" ]; do sleep 0.005; done
    exec "$@" <&3 3<&-
) &
echo $! >"$dir/pid"
