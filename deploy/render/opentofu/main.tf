# Makes the service on Render and its database on Neon, in place of render.yaml and two consoles:
# deploy/render/README.md, "OpenTofu".
terraform {
  required_version = ">= 1.8"
  required_providers {
    render = {
      source  = "render-oss/render"
      version = ">= 1.3, < 2"
    }
    neon = {
      source  = "kislerdm/neon"
      version = "~> 0.13"
    }
  }
}

# Reads RENDER_API_KEY and RENDER_OWNER_ID.
provider "render" {
  wait_for_deploy_completion = true
}

# Reads NEON_API_KEY.
provider "neon" {}

variable "image" {
  description = "Without the version: REGISTRY/OWNER/tasks-api-backend."
  type        = string
}

variable "tag" {
  description = "The version. A new one is a roll-out."
  type        = string
}

variable "database_url" {
  description = "The URL of the service's own role (SECURITY.md). Empty until it is there: the owner's URL is used."
  type        = string
  default     = ""
  sensitive   = true
}

resource "neon_project" "tasks_api" {
  name       = "tasks-api"
  region_id  = "aws-eu-central-1"
  pg_version = 18
  # In seconds: how far back the database can be restored. The free plan allows six hours.
  history_retention_seconds = 604800

  branch {
    name          = "main"
    database_name = "app"
    role_name     = "owner"
  }

  default_endpoint_settings {
    # This gives at least 104 connections, of which 97 are for the service. A test counts them.
    autoscaling_limit_min_cu = 0.25
    autoscaling_limit_max_cu = 1
  }

  lifecycle {
    prevent_destroy = true
  }
}

locals {
  # Neon's URL only encrypts. With verify-full, the service also checks the server's identity.
  owner_url = replace(neon_project.tasks_api.connection_uri, "sslmode=require", "sslmode=verify-full")
}

resource "render_web_service" "tasks_api" {
  name   = "tasks-api"
  plan   = "starter"
  region = "frankfurt"
  # While a version rolls out there are twice as many instances: 2 x 2 with two workers of five connections make 40.
  num_instances              = 2
  pre_deploy_command         = "python -m alembic upgrade head"
  health_check_path          = "/health/live"
  max_shutdown_delay_seconds = 35

  runtime_source = {
    image = {
      image_url = var.image
      tag       = var.tag
    }
  }

  env_vars = {
    DATABASE_URL        = { value = var.database_url != "" ? var.database_url : local.owner_url }
    DATABASE_DIRECT_URL = { value = local.owner_url }
    WEB_CONCURRENCY     = { value = "2" }
    DATABASE_POOL_SIZE  = { value = "5" }
    PORT                = { value = "8000" }
  }
}

output "url" {
  value = render_web_service.tasks_api.url
}
