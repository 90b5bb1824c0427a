/**
 * Mounts of a container spec, JSON to protobuf and back. `Consistency` and the newer bind options
 * are accepted and dropped, as the engine does.
 */
import { create } from '@bufbuild/protobuf';
import {
  type Mount,
  Mount_BindOptions_Propagation,
  Mount_BindOptionsSchema,
  Mount_TmpfsOptionsSchema,
  Mount_Type,
  Mount_VolumeOptionsSchema,
  MountSchema,
} from '../../model/gen/docker/swarmkit/v1/types_pb.js';
import { badRequest } from '../http/api-error.js';
import type { GoStruct } from '../http/go-struct.js';
import { mapUnlessEmpty, unlessZero } from '../http/json-text.js';
import {
  driverFields,
  driverFromJson,
  enumText,
  enumValue,
  goQuote,
  type JsonFields,
} from './common.js';

/** One mount as JSON. */
export function mountFields(mount: Mount): JsonFields {
  const { bindOptions, volumeOptions, tmpfsOptions } = mount;
  return {
    Type: enumText(Mount_Type, mount.type),
    Source: unlessZero(mount.source),
    Target: unlessZero(mount.target),
    ReadOnly: unlessZero(mount.readonly),
    BindOptions: bindOptions && {
      Propagation: enumText(Mount_BindOptions_Propagation, bindOptions.propagation),
      NonRecursive: unlessZero(bindOptions.nonrecursive),
    },
    VolumeOptions: volumeOptions && {
      NoCopy: unlessZero(volumeOptions.nocopy),
      Labels: mapUnlessEmpty(volumeOptions.labels),
      DriverConfig: driverFields(volumeOptions.driverConfig),
    },
    TmpfsOptions: tmpfsOptions && {
      SizeBytes: unlessZero(tmpfsOptions.sizeBytes),
      Mode: unlessZero(tmpfsOptions.mode),
    },
  };
}

/** One mount from JSON. @throws ApiError 400 `invalid MountType: …` | `invalid MountPropagation: …` */
export function mountFromJson(json: GoStruct): Mount {
  const typeText = json.string('Type', 'mount.Type');
  const type = enumValue(Mount_Type, typeText);
  if (type === undefined && typeText !== '') {
    throw badRequest(`invalid MountType: ${goQuote(typeText)}`);
  }
  const mount = create(MountSchema, {
    type: type ?? Mount_Type.BIND,
    source: json.string('Source'),
    target: json.string('Target'),
    readonly: json.bool('ReadOnly'),
  });
  addBindOptions(mount, json.optionalStruct('BindOptions', 'mount.BindOptions'));
  const volume = json.optionalStruct('VolumeOptions', 'mount.VolumeOptions');
  if (volume !== undefined) {
    mount.volumeOptions = create(Mount_VolumeOptionsSchema, {
      nocopy: volume.bool('NoCopy'),
      labels: volume.stringMap('Labels'),
    });
    const driver = driverFromJson(volume, 'DriverConfig', 'mount.Driver');
    if (driver !== undefined) mount.volumeOptions.driverConfig = driver;
  }
  const tmpfs = json.optionalStruct('TmpfsOptions', 'mount.TmpfsOptions');
  if (tmpfs !== undefined) {
    mount.tmpfsOptions = create(Mount_TmpfsOptionsSchema, {
      sizeBytes: tmpfs.int64('SizeBytes'),
      mode: tmpfs.uint32('Mode', 'fs.FileMode'),
    });
  }
  return mount;
}

function addBindOptions(mount: Mount, json: GoStruct | undefined): void {
  if (json === undefined) return;
  const text = json.string('Propagation', 'mount.Propagation');
  const propagation = enumValue(Mount_BindOptions_Propagation, text);
  if (propagation === undefined && text !== '') {
    throw badRequest(`invalid MountPropagation: ${goQuote(text)}`);
  }
  const nonrecursive = json.bool('NonRecursive');
  if (propagation === undefined && !nonrecursive) return;
  mount.bindOptions = create(Mount_BindOptionsSchema, {
    nonrecursive,
    ...(propagation === undefined ? {} : { propagation }),
  });
}
