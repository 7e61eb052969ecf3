# Sourced, from the workspace's root: finds or installs what builds the CUDA side where there is no GPU, and sets
# CUDA_PATH, PATH and LIBRARY_PATH for it.
#   nvcc: from PATH, or NVIDIA's wheels on PyPI, installed into target/cuda
#   nvidia-smi, which dfdx's build asks for the GPU: a script that answers, where there is none
#   libcuda, libcublas …: the stand-ins of tests/gpu/host, to link against

if command -v nvcc >/dev/null; then
    nvcc=$(command -v nvcc)
else
    home=$PWD/target/cuda
    if [ ! -x "$home/bin/python" ]; then
        python3 -m venv "$home"
    fi
    "$home/bin/pip" install --quiet --disable-pip-version-check \
        nvidia-cuda-nvcc==13.0.88 nvidia-cuda-crt==13.0.88 nvidia-nvvm==13.0.88 \
        nvidia-cuda-runtime==13.0.96 nvidia-cuda-cccl==13.0.85
    nvcc=$(echo "$home"/lib/python3*/site-packages/nvidia/cu13/bin/nvcc)
fi
export PATH=$(dirname "$nvcc"):$PATH
export CUDA_PATH=${CUDA_PATH:-$(dirname "$(dirname "$nvcc")")}

if ! command -v nvidia-smi >/dev/null; then
    tools=$PWD/target/cuda/tools
    mkdir -p "$tools"
    printf '#!/bin/sh\necho compute_cap\necho 9.0\n' >"$tools/nvidia-smi"
    chmod +x "$tools/nvidia-smi"
    export PATH=$PATH:$tools
fi

cuda_host=$PWD/target/cuda/host
tests/gpu/host/build.sh "$cuda_host"
export LIBRARY_PATH=$cuda_host${LIBRARY_PATH:+:$LIBRARY_PATH}
