# One image for web, node, worker and the commands; what it is to be is said by the command it is started with.
FROM python:3.11-slim-bookworm

ENV PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1 PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1
WORKDIR /app

COPY requirements.txt .
RUN pip install -r requirements.txt

COPY manage.py ./
COPY coordination coordination
COPY demo demo
COPY orchestrator_site orchestrator_site
COPY static static
COPY templates templates

# Nothing of the image belongs to the account that runs it, and no configuration is in it: that is the environment's.
RUN useradd --system --uid 10001 --create-home batches
ENV ORCHESTRATOR_HOME=/home/batches
USER batches

EXPOSE 8000
CMD ["daphne", "-b", "0.0.0.0", "-p", "8000", "--no-server-name", "orchestrator_site.asgi:application"]
