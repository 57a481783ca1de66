"""Tests of the files in collector-config/ and of docker-compose.yml, without running them."""
