#!/bin/sh
# Write the bill of materials and the licences of everything in the image.
# usage: describe.sh FOLDER BASE_PACKAGES (dpkg's status file of the base image)
set -eu
folder=$1 status=$2
mkdir -p "$folder"
tools/bin/cyclonedx-py environment --output-reproducible --output-format JSON --spec-version 1.6 \
    --pyproject pyproject.toml --output-file python.cdx.json /opt/medseg/bin/python
tools/bin/python container/add_debian_packages.py python.cdx.json "$status" "$folder/sbom.cdx.json"
tools/bin/pip-licenses --python=/opt/medseg/bin/python --from=mixed --order=name --format=plain-vertical \
    --with-license-file --with-notice-file --no-license-path --output-file="$folder/licences.txt"
tools/bin/pip-licenses --python=/opt/medseg/bin/python --from=mixed --order=name --format=csv \
    --output-file="$folder/licences.csv"
