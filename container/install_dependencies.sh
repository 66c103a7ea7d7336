#!/bin/sh
# Install what medseg depends on into /opt/medseg; usage: install_dependencies.sh TORCH_BUILD EXTRAS
set -eu
build=$1 extras=$2
torch=$(sed -n 's/^torch==//p' constraints.txt)
case $build in
    cuda) requirement="torch===$torch" ;;
    *) requirement="torch==$torch+$build" ;;
esac
tools/bin/python - "$extras" > requirements.txt <<'PYTHON'
import sys
import tomllib

with open("pyproject.toml", "rb") as file:
    project = tomllib.load(file)["project"]
chosen = [project["optional-dependencies"][extra] for extra in sys.argv[1].split(",") if extra]
print(*project["dependencies"], *sum(chosen, []), sep="\n")
PYTHON
python3 -m venv --without-pip /opt/medseg
pip="tools/bin/pip --python /opt/medseg/bin/python"
$pip install --no-compile -c constraints.txt "$requirement" -r requirements.txt && exit
echo "If $requirement was not found: name an index that has it with --build-arg PIP_EXTRA_INDEX_URL=…," \
    "or a folder of wheels with --build-context wheels=FOLDER. PyTorch's installation page tells the index." >&2
exit 1
