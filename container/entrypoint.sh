#!/bin/sh
# Without a command: what to do. With one: medseg, with as many threads as the container has processors.
if [ $# -eq 0 ]; then
    exec cat /opt/medseg/share/doc/medseg/welcome.txt
fi
if [ -z "$OMP_NUM_THREADS" ]; then
    # Libraries count the machine's processors and do not see a limit such as --cpus=4.
    if [ -r /sys/fs/cgroup/cpu.max ]; then
        read -r quota period < /sys/fs/cgroup/cpu.max
    elif [ -r /sys/fs/cgroup/cpu/cpu.cfs_quota_us ]; then
        read -r quota < /sys/fs/cgroup/cpu/cpu.cfs_quota_us
        read -r period < /sys/fs/cgroup/cpu/cpu.cfs_period_us
    fi
    case ${quota:-max} in
        max | -1) ;;
        *)
            threads=$(((quota + period - 1) / period))
            export OMP_NUM_THREADS="$threads" OPENBLAS_NUM_THREADS="$threads" \
                ITK_GLOBAL_DEFAULT_NUMBER_OF_THREADS="$threads"
            ;;
    esac
fi
# No model was baked in or mounted: that of brain tissue, which medseg has itself. A folder that was mounted and
# holds none is a mistake, which medseg refuses.
if [ "$MEDSEG_MODEL" = /model ] && [ -z "$(ls -A /model 2>/dev/null)" ] && ! grep -q ' /model ' /proc/self/mounts; then
    unset MEDSEG_MODEL
fi
exec medseg "$@"
