FROM node:24-slim AS build
WORKDIR /app
COPY package.json package-lock.json ./
# The image brings its own Node; the package's copy is for machines with an older one.
RUN npm ci --no-audit --no-fund --ignore-scripts
COPY build build
COPY config config
COPY storage storage
COPY src src
# On the Node of the image, whose compiled code it brings along: both stages start from the same one.
RUN node build/build.ts

FROM node:24-slim AS dependencies
WORKDIR /app
COPY package.json package-lock.json ./
RUN npm ci --omit=dev --no-audit --no-fund

FROM node:24-slim
WORKDIR /app
ENV NODE_ENV=production UV_THREADPOOL_SIZE=16
# Buffers of more than 64 KiB go back to the node at once, instead of leaving holes in the heap of malloc; those of just 64 KiB come and go with each piece of a push.
ENV MALLOC_ARENA_MAX=1 MALLOC_MMAP_THRESHOLD_=66000 MALLOC_TRIM_THRESHOLD_=65536 MALLOC_TOP_PAD_=65536
# All other packages are in the program.
COPY --from=dependencies /app/node_modules/@node-rs node_modules/@node-rs
COPY --from=build /app/dist dist
COPY package.json LICENSE ./
# A number, so that Kubernetes can tell that it is not root. The process writes below storage.filesystem.root and nowhere else,
# so the root filesystem may be read-only.
USER 64535:64535
EXPOSE 5001 5002
# containerd keeps an image that has this label from the kubelet's collection of images, where it was pulled by its CRI.
LABEL io.cri-containerd.pinned=pinned
# The young generation is kept small, because what lives long here is not on the heap; see docs/architecture.md.
ENTRYPOINT ["node", "--max-semi-space-size=1", "--max-old-space-size=256", "--heap-growing-percent=200", "dist/src/main.js"]
CMD ["serve"]
