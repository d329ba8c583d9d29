# The front doors. Each sets up what it needs (.ci/setup) and is quick when that is there already.
#
#   make demo                 all roles on this machine, over RabbitMQ; stays up and tells what to try next
#   make demo EXIT=1          ... leaves after the download
#   make demo FOLDER=path     ... with files of yours
#   make test                 lint, types, imports and all tests, on a real RabbitMQ
#   make check                lint, types, imports and the fast tests; under a minute, for every commit
#   make bench NAME=publish   one benchmark: a table, and a line with figure and goal
#   make image                container images for compose.yaml and the tests, without any registry of images

.PHONY: help demo test check bench image
.DEFAULT_GOAL := help

help:
	@sed -n 's/^#   //p' Makefile

demo:
	@.ci/setup demo
	@.venv/bin/distributary demo $(if $(FOLDER),'$(FOLDER)') $(if $(EXIT),--exit)

test:
	@.ci/test

check:
	@.ci/setup check
	@.ci/lint
	@.venv/bin/python -I -m pytest -q tests/unit

bench:
	@test -n '$(NAME)' || { echo 'say which: make bench NAME=publish' >&2; exit 2; }
	@.ci/setup bench
	@.venv/bin/python -m bench $(NAME)

image:
	@.ci/images
