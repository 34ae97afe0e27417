# Python 3.12 with a current TensorFlow, CUDA and nvcc; data and results are in the folder where you stand.
#
#   docker build -t gansformer .
#   docker run --rm -it --gpus all -v "$PWD":/data gansformer python /gansformer/run_network.py --help
#
# For a machine without an NVIDIA GPU, and a tenth of the size:
#   docker build -t gansformer --build-arg BASE=ubuntu:24.04 --build-arg TENSORFLOW=tensorflow-cpu .

ARG BASE=nvidia/cuda:12.8.1-devel-ubuntu24.04
FROM ${BASE}
ARG TENSORFLOW=tensorflow[and-cuda]

# g++ compiles the native operations at first use.
RUN apt-get update && \
    apt-get install -y --no-install-recommends g++ make python3.12-venv && \
    rm -rf /var/lib/apt/lists/*

RUN python3.12 -m venv /opt/venv
ENV PATH=/opt/venv/bin:$PATH
COPY requirements.txt /gansformer/
RUN pip install --no-cache-dir --upgrade pip && \
    sed "s/^tensorflow>/$TENSORFLOW>/" /gansformer/requirements.txt > /opt/venv/requirements.txt && \
    pip install --no-cache-dir -r /opt/venv/requirements.txt

COPY . /gansformer
ENV PYTHONPATH=/gansformer
WORKDIR /data
CMD ["python", "/gansformer/run_network.py", "--help"]
