# The image that segments scans: medseg with the extra [dicom], and no network access when it runs.
#
#   make image                                     docker or podman, whichever is installed
#   make image MODEL=work/mine/model               the same with a model folder baked in
#   podman build --build-arg TORCH_BUILD=cuda …    for GPUs
#
# docs/container.md tells the build arguments and how to run it.

ARG BUILDER=python:3.11-bookworm
ARG BASE=python:3.11-slim-bookworm

# Two empty places that `--build-context wheels=FOLDER` and `--build-context model=FOLDER` fill.
FROM scratch AS wheels
FROM scratch AS model

FROM ${BASE} AS base

FROM ${BUILDER} AS build
# pip reads these itself; without them it asks the index it is configured for.
ARG PIP_INDEX_URL
ARG PIP_EXTRA_INDEX_URL
ARG PIP_NO_INDEX
# cpu, cuda (the build of the default index) or the local version of another build, such as cu130.
ARG TORCH_BUILD=cpu
# Extras of pyproject.toml, joined by commas.
ARG EXTRAS=dicom
# Every file of the image gets this time, so that equal inputs give equal files.
ARG SOURCE_DATE_EPOCH=1767225600
ENV PIP_FIND_LINKS=/wheels PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_ROOT_USER_ACTION=ignore \
    PYTHONDONTWRITEBYTECODE=1 PYTHONHASHSEED=0
WORKDIR /build
COPY container/build-requirements.txt ./
RUN --mount=type=bind,from=wheels,target=/wheels \
    python3 -m venv tools && tools/bin/pip install -r build-requirements.txt
COPY pyproject.toml constraints.txt container/install_dependencies.sh ./
RUN --mount=type=bind,from=wheels,target=/wheels sh install_dependencies.sh "$TORCH_BUILD" "$EXTRAS"
COPY LICENSE README.md ./
COPY container ./container/
COPY configs ./configs/
COPY pipelines ./pipelines/
COPY medseg ./medseg/
COPY --from=base /var/lib/dpkg/status base-packages
RUN tools/bin/pip wheel --no-deps --no-build-isolation --wheel-dir dist . \
 && tools/bin/pip --python /opt/medseg/bin/python install --no-deps --no-index --no-compile dist/*.whl \
 && sh container/describe.sh /opt/medseg/share/doc/medseg base-packages \
 && python3 container/slim.py /opt/medseg \
 && /opt/medseg/bin/python container/compile_used.py \
 && install -D container/entrypoint.sh /opt/medseg/libexec/entrypoint \
 && install -m 0644 container/welcome.txt /opt/medseg/share/doc/medseg/welcome.txt \
 && chmod -R a+rX,go-w /opt/medseg \
 && find /opt/medseg -exec touch --no-dereference --date "@$SOURCE_DATE_EPOCH" {} +

FROM ${BASE}
ARG VERSION=unknown
ARG REVISION=unknown
ARG TORCH_BUILD=cpu
LABEL org.opencontainers.image.title="medseg" \
      org.opencontainers.image.description="Segmentation of MRI scans and DICOM exports, offline" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}" \
      org.opencontainers.image.documentation="/opt/medseg/share/doc/medseg" \
      medseg.torch="${TORCH_BUILD}"
COPY --from=build /opt/medseg /opt/medseg
COPY --from=model / /model/
# No home, and no entry in /etc/passwd: USER answers whoever asks for a name. Temporary files of a run, which have no
# name, lie in /out. Threads that wait spin briefly, so that they do not take the processor from those that work.
ENV PATH=/opt/medseg/bin:$PATH \
    MEDSEG_MODEL=/model \
    HOME=/nonexistent USER=medseg TMPDIR=/out \
    GOMP_SPINCOUNT=10000 \
    LANG=C.UTF-8 PYTHONDONTWRITEBYTECODE=1 PYTHONNOUSERSITE=1 PYTHONSAFEPATH=1 PYTHONUNBUFFERED=1 \
    NVIDIA_VISIBLE_DEVICES=all NVIDIA_DRIVER_CAPABILITIES=compute,utility
WORKDIR /out
USER 65532:65532
ENTRYPOINT ["/opt/medseg/libexec/entrypoint"]
