# The demo in a container, for CPUs: docker build -t contrastive-papers . && docker run --rm -it contrastive-papers
FROM python:3.11-slim

RUN apt-get update && apt-get install -y --no-install-recommends make git libsndfile1 && rm -rf /var/lib/apt/lists/*
WORKDIR /papers

# Dependencies first, so that a change of the code does not fetch them again. TORCH_INDEX is the address that PyTorch's install selector
# shows for "CPU"; without it pip takes torch from where it takes the rest, with CUDA's libraries.
ARG TORCH_INDEX
COPY pyproject.toml constraints.txt README.md LICENSE ./
RUN python -m venv .venv \
    && if [ -n "$TORCH_INDEX" ]; then .venv/bin/pip install -c constraints.txt torch torchvision torchaudio --index-url "$TORCH_INDEX"; fi \
    && .venv/bin/python -c "import tomllib; print(*tomllib.load(open('pyproject.toml', 'rb'))['project']['dependencies'], sep='\n')" > /tmp/needed.txt \
    && .venv/bin/pip install -c constraints.txt -r /tmp/needed.txt

COPY . .
RUN .venv/bin/pip install --no-deps -e . && touch .venv/.installed
ENV PATH=/papers/.venv/bin:$PATH

CMD ["make", "demo"]
